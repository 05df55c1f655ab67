// The function: the domain that all peers share, as far as the Cloudstate JavaScript support reaches.
require('./grpc_bind');
const { CloudState } = require('cloudstate');

const { Likes, Tags } = require('./crdts');
const replicated = require('./replicated');

new CloudState({ serviceName: 'peer-cloudstate-node' })
  .addEntity(require('./cart'), require('./key_value'), require('./tools'), Likes, Tags, ...replicated)
  .start({
    bindAddress: process.env.HOST || '127.0.0.1',
    bindPort: process.env.PORT || '8080',
  });
