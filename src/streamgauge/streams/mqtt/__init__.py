"""MQTT: payload by topic in a client's own program, and a broker's connections by its log.

In come a client of paho-mqtt, or the log lines of Mosquitto; out go counted bytes of whoever owns
the topic or the connection. Nothing here imports paho: clients are used by their methods.
"""
