"""What yadtq answers to bad input and to services that are dead, wrong or unfit: one table, tried and printed."""
