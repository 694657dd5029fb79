"""Tests of the predicates that several rooms need."""
