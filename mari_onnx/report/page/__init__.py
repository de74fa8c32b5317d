"""The parts of the page that a report becomes: its texts and tables, its charts, and the graphs as layers of blocks.

What a page shows is in the report. The layout of graphs comes from igraph, and charts and zooming from bokeh, whose
script is written into the page.
"""
