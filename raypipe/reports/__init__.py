"""Reports on jobs, as one page to look at: `page` for the whole, a module for each part."""
