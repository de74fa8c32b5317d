"""The intermediate representation: what a value is, and in which forms the compiler can have it.

    extents, axes               how long a dimension is, and which named axes it is a product of
    expressions, unique_nodes   the graph of nodes that may be written, each expression once
    builder                     records nodes in that graph, and simplifies moves of data as it does
    forms                       `Value` and its forms: Array, Parts, Terms, Factors, Blocks
    arrays, parts, sums, ...    operations on forms
    cost, policy                estimated times, and how large a gain has to be
    validate                    checks of all of these while tests run

Example: `[user item] @ W` of user [1, 4] and item [B, 3] is a `Value` [B, 8] with two forms: the array (B 8), and the
terms `user @ W_user` (8) and `item @ W_item` (B 8).
"""
