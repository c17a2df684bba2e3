"""The page of ``mm-infobatch inspect``: tables, charts and images of runs, in one file."""
