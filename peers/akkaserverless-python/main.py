"""The function: the domain that all peers share, on the Akka Serverless Python SDK."""

import logging
import os

from akkaserverless.akkaserverless_service import AkkaServerlessService
from akkaserverless.view import View

import key_value_pb2
import views_pb2
from cart import cart
from key_value import key_value
from tools import tools

view = View(
    views_pb2.DESCRIPTOR.services_by_name["ValuesByText"],
    [key_value_pb2.DESCRIPTOR, views_pb2.DESCRIPTOR],
)

if __name__ == "__main__":
    logging.root.setLevel(logging.INFO)
    service = AkkaServerlessService()
    if "PEER_WORKERS" in os.environ:
        service.max_workers(int(os.environ["PEER_WORKERS"]))
    for component in (cart, key_value, tools, view):
        service.add_component(component)
    service.start()
