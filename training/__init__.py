"""Fine-tune bi-encoders and cross-encoders on labelled pairs, and measure what it brings.

Read in this order: ``data`` (rows from files, the hub or a query), ``pairs`` (what of them can be trained on),
``losses``, ``bi_encoder`` and ``cross_encoder`` (each from top to bottom: knobs, data, model, loss, train, evaluate,
save), ``fit`` (what both share: checkpoints, resuming, early stopping), ``evaluate`` (models in memory),
``through_database`` (retrieval by the product itself). Importing the package loads no torch.
"""
