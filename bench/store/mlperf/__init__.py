"""Tests of LoadGen laid out as the submission checker of MLPerf Inference reads them."""
