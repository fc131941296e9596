"""The report: one self-contained page of tables and charts, the same tables in Markdown and in the terminal, and files for a paper."""
