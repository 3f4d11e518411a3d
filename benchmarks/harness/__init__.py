"""Measurement: workers, cases, records and pictures that all suites share."""
