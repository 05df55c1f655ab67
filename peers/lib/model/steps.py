"""The steps of requests of the conformance kit's model services, for both Python SDKs: what they do to
text and count, and what they ask for. Neither SDK has metadata."""

SERVICES = {"value": "ValueModel", "two": "ValueModelTwo"}


class Failed(Exception):
    """A step that rejects the command."""


class Work:
    """What the steps of one command have done so far."""

    def __init__(self, text="", count=0):
        self.text = text
        self.count = count
        self.changed = False
        self.deleted = False
        self.appended = []
        self.effects = []
        self.forwarded = None
        self.pad = b""

    def do(self, steps):
        for step in steps:
            name = step.WhichOneof("step")
            getattr(self, f"do_{name}")(getattr(step, name))
        return self

    def do_set(self, text):
        self.text = text
        self.count += 1
        self.changed = True

    def do_append(self, text):
        self.do_set(self.text + text)
        self.appended.append(text)

    def do_delete(self, _):
        self.text, self.count = "", 0
        self.deleted = True

    def do_fail(self, failure):
        raise Failed(failure.message)

    def do_crash(self, text):
        raise RuntimeError(text)

    def do_forward(self, target):
        self.forwarded = target

    def do_effect(self, effect):
        self.effects.append(effect)

    def do_show_header(self, name):
        pass

    def do_set_header(self, header):
        pass

    def do_pad(self, length):
        self.pad = bytes(place % 251 for place in range(length))


class Replies:
    """What a handler says, in an SDK's words: its messages and how it packs others."""

    def __init__(self, pb, forward, side_effect, pack):
        self.pb = pb
        self.forward = forward
        self.side_effect = side_effect
        self.pack = pack

    def call(self, message, target, **more):
        name = target.WhichOneof("target")
        package = self.pb.DESCRIPTOR.package
        request = self.pack(getattr(target, name))
        return message(service_name=f"{package}.{SERVICES[name]}", command_name="Process", payload=request, **more)

    def effects(self, work, context):
        """Adds the effects so far to what is said next."""
        for effect in work.effects:
            context.effects.append(self.call(self.side_effect, effect.target, synchronous=effect.wait))
        work.effects.clear()

    def reply(self, work, context):
        self.effects(work, context)
        if work.forwarded is not None:
            context.forward = self.call(self.forward, work.forwarded)
            return None
        return self.pb.Reply(text=work.text, count=work.count, pad=work.pad)

    def answer(self, context, handler):
        """What the handler replies, or the failure that it ends with."""
        try:
            return handler()
        except Failed as failure:
            context.fail(str(failure))
            return None
