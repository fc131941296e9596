"""Our records to the files of the code that the authors of APO published (github Linear95/APO), and back."""
