// The SDK binds its server with the blocking `bind` of the old grpc package, which npm can no longer
// build on today's Node; package.json puts @grpc/grpc-js in its place, and that only has `bindAsync`.
const grpc = require('grpc');

const start = grpc.Server.prototype.start;

grpc.Server.prototype.bind = function bind(address, credentials) {
  this.bindAsync(address, credentials, (error) => {
    if (error) throw error;
    start.call(this);
  });
  return Number(address.split(':').pop());
};

// Called right after `bind`, too early: the server starts when it is bound.
grpc.Server.prototype.start = () => {};
