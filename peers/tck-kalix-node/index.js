// The conformance kit's model services on the Kalix SDK.
const sdk = require('@kalix-io/kalix-javascript-sdk');
const components = require('../lib/model/components');

new sdk.Kalix({ serviceName: 'tck-kalix-node', serviceVersion: '0.0.0' })
  .addComponent(...components('kalix', { ...sdk, ...sdk.replicatedentity }))
  .start();
