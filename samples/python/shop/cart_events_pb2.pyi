from shop import cart_pb2 as _cart_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemAdded(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: _cart_pb2.LineItem
    def __init__(self, item: _Optional[_Union[_cart_pb2.LineItem, _Mapping]] = ...) -> None: ...

class ItemRemoved(_message.Message):
    __slots__ = ("product_id",)
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    def __init__(self, product_id: _Optional[str] = ...) -> None: ...

class CheckedOut(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
