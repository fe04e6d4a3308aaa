"""A run as one self-contained HTML page: records in, the page's data and text out."""
