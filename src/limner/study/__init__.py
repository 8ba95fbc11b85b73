"""Studies: a base recipe, factors with their values, seeds and a budget become runs, a table and a page.

A study's state is in optuna's storage, so that several processes and machines take up its runs; each run is an ordinary run
directory. See :func:`limner.study.conduct.conduct`.
"""
