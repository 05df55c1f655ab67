"""The function: the domain that all peers share, as far as the Cloudstate Python support reaches."""

from cloudstate.cloudstate import CloudState

from cart import cart
from key_value import key_value

if __name__ == "__main__":
    CloudState().register_event_sourced_entity(cart).register_event_sourced_entity(key_value).start()
