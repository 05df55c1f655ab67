/** The contract of a function: its components with the descriptors that they need. */

import { create, toBinary, type DescFile, type MessageShape } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { Component } from "./component.js";
import { ContractSchema } from "./generated/firn/v1/function_pb.js";

/** Makes the contract of these components. */
export function contractOf(components: readonly Component[]): MessageShape<typeof ContractSchema> {
  const files = new Map<string, DescFile>();
  for (const component of components) {
    addFile(files, component.service.file);
    for (const message of component.messages) addFile(files, message.file);
  }
  const set = create(FileDescriptorSetSchema, { file: [...files.values()].map((file) => file.proto) });
  return create(ContractSchema, {
    descriptors: toBinary(FileDescriptorSetSchema, set),
    components: components.map((component) => component.declaration()),
  });
}

/** R10: a file after those that it imports, without those that Firn has. */
function addFile(files: Map<string, DescFile>, file: DescFile): void {
  if (/^google\/(protobuf|api)\//.test(file.name) || files.has(file.name)) return;
  for (const dependency of file.dependencies) addFile(files, dependency);
  files.set(file.name, file);
}
