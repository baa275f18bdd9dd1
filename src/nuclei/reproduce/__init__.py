"""The tables of five reports made again: measures, figures, pages."""
