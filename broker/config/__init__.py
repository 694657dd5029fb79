"""Settings: one declaration table, layers that know their origin, one frozen value.

Take `Settings` from `broker.config.settings`, and one of them from `broker.config.load.load_settings`.
"""
