// The conformance kit's model services on the Cloudstate JavaScript support.
require('../cloudstate-node/grpc_bind');
const { CloudState } = require('cloudstate');

const replicated = require('./replicated');
const { eventSourced, target } = require('./event_sourced');

new CloudState({ serviceName: 'tck-cloudstate-node', serviceVersion: '0.0.0' })
  .addEntity(
    require('./action'),
    target('ValueModel', 'tck-value'),
    target('ValueModelTwo', 'tck-two'),
    eventSourced(),
    ...replicated,
  )
  .start({
    bindAddress: process.env.HOST || '127.0.0.1',
    bindPort: process.env.PORT || '8080',
  });
