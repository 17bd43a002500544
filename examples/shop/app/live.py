"""The shop's Socket.IO server: tells open pages what is in stock."""

import os

import socketio

server = socketio.AsyncServer(
    async_mode="asgi",
    cors_allowed_origins=[os.environ["ORIGIN"]],
    client_manager=socketio.AsyncRedisManager(os.environ["CACHE_URL"]),
)
application = socketio.ASGIApp(server)
