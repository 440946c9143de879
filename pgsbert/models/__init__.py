"""Models and nothing else: where their files are, what is in them, and how they turn texts into numbers.

``resolve`` finds the folder, ``files`` judges it, ``sbert`` loads it, ``load`` chooses. Importing any of
them loads no torch; asking for a model does.
"""
