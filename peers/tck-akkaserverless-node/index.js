// The conformance kit's model services on the Akka Serverless SDK.
const sdk = require('@lightbend/akkaserverless-javascript-sdk');
const components = require('../lib/model/components');

new sdk.AkkaServerless({ serviceName: 'tck-akkaserverless-node', serviceVersion: '0.0.0' })
  .addComponent(...components('akkaserverless', { ...sdk, ...sdk.ReplicatedData, ...sdk.Metadata }))
  .start();
