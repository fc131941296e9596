"""The report: tables for the terminal and for Markdown, and one self-contained page with charts."""
