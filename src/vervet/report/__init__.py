"""What a person looks at: plain tables for a terminal, one self-contained page with the figure. No algorithm here."""
