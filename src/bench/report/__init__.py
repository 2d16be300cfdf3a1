"""From a verdict to what people read: tables, figures, Markdown and one page that works offline."""
