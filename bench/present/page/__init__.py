"""`bench report`: stored runs as one self-contained page, in words, pictures and tables.

`parts` are the values that a page is made of; each module about a question (`front`, `distilled`,
`latency`, ...) makes parts from records; `page` puts them together and writes HTML. No verdict is
found here: sentences come from the modules that print them on the terminal too.
"""
