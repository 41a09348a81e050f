"""What runs where: ONNX's own operator tests, and models, on every target.

``cases`` makes the tests into files, ``execute`` runs them in workers, ``outcomes`` says what came
of one, ``kept`` remembers that, ``report`` holds the matrix, ``predict`` and ``models`` turn from
operators to whole models; ``matrix_text``, ``matrix_markdown`` and ``matrix_html`` show it.
"""
