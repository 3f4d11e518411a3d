"""Measuring: workers, cases, records and pictures that every suite shares."""
