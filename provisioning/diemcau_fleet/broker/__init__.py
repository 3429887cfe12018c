"""The broker's rules, written from the fleet's registry: mosquitto's configuration, who may say and hear
what, and whose certificate no longer counts. docs/broker.md explains every line."""
