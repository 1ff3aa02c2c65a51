"""Reports: a run's log read into tables, drawn, and rendered to one page that works offline."""
