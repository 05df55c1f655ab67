// Where the contract is, and how its services are called.
exports.PROTO = 'firn/tck/cloudstate/v1/model.proto';
exports.INCLUDE_DIRS = ['../../tck/proto'];
exports.named = (name) => `firn.tck.cloudstate.v1.${name}`;
