"""Tests of the pretend controllers."""
