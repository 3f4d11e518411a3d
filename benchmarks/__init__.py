"""Speed and accuracy, measured; README.md beside this file states the method."""
