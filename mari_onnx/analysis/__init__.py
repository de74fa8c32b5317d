"""The analysis: which inputs belong to the request, and which forms each value of the graph can have.

`interpret` walks the graph once. For each node a rule, one for each operator family, derives the forms of the outputs
from the forms of the inputs. Nothing is planned or written here.

Example: of user [1, 4] and item [B, 3] the rule of Concat derives parts, and the rule of MatMul derives the terms
`user @ W_user` and `item @ W_item` of `[user item] @ W`.
"""
