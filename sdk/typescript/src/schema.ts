/**
 * Code first: messages and services as TypeScript values, without a .proto file.
 *
 * ```ts
 * const Increase = message("Increase", { counterId: string(), amount: int64() });
 * const Value = message("Value", { value: int64() });
 * const Counter = service("counter.Counter", { increase: rpc(Increase, Value) });
 * ```
 *
 * They are used like generated ones. Their fields get numbers made of their names (R100), so that
 * fields can be moved about, and a renamed field is another field.
 */

import {
  create,
  createFileRegistry,
  ScalarType,
  setExtension,
  type DescFile,
  type DescMessage,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  EmptySchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  type FieldDescriptorProto,
  MethodOptionsSchema,
} from "@bufbuild/protobuf/wkt";
import { BIND } from "./binding.js";
import { file_google_api_annotations, http } from "./generated/google/api/annotations_pb.js";
import { HttpRuleSchema } from "./generated/google/api/http_pb.js";

export { create, isMessage } from "@bufbuild/protobuf";

/** A message without fields: `google.protobuf.Empty`. */
export const Empty = EmptySchema;

/** How a field is declared. */
export interface FieldType<T, IsOptional extends boolean = false> {
  /** @internal */
  readonly of: ScalarType | DescMessage;
  /** @internal */
  readonly shape: "one" | "list" | "map";
  /** Whether it is known if the field was set. */
  readonly isOptional: IsOptional;
  /** @internal */
  readonly number: number | undefined;
  /** @internal The type, for the compiler only. */
  readonly $type?: T;
}

/** What a field may be declared as: one of the types below, or a message. */
export type AnyField = FieldType<unknown, boolean> | DescMessage | GenMessage<Message>;

/** Options of a field. */
export interface FieldOptions {
  /** Its number, instead of the one that is made of its name. */
  number?: number;
}

type TypeOf<F> = F extends FieldType<infer T, boolean> ? T : F extends GenMessage<infer M> ? M : never;

type IsUnsettable<F> = F extends FieldType<unknown, infer O> ? O : true;

type Shape<F extends Record<string, AnyField>> = {
  -readonly [K in keyof F as IsUnsettable<F[K]> extends true ? never : K]: TypeOf<F[K]>;
} & {
  -readonly [K in keyof F as IsUnsettable<F[K]> extends true ? K : never]?: TypeOf<F[K]> | undefined;
};

/** Text. */
export function string(options: FieldOptions = {}): FieldType<string> {
  return scalar(ScalarType.STRING, options);
}

/** True or false. */
export function bool(options: FieldOptions = {}): FieldType<boolean> {
  return scalar(ScalarType.BOOL, options);
}

/** A whole number of 32 bits. */
export function int32(options: FieldOptions = {}): FieldType<number> {
  return scalar(ScalarType.INT32, options);
}

/** A whole number of 64 bits, as a bigint. */
export function int64(options: FieldOptions = {}): FieldType<bigint> {
  return scalar(ScalarType.INT64, options);
}

/** A whole number of 32 bits that is not negative. */
export function uint32(options: FieldOptions = {}): FieldType<number> {
  return scalar(ScalarType.UINT32, options);
}

/** A whole number of 64 bits that is not negative, as a bigint. */
export function uint64(options: FieldOptions = {}): FieldType<bigint> {
  return scalar(ScalarType.UINT64, options);
}

/** A number with a fraction. */
export function double(options: FieldOptions = {}): FieldType<number> {
  return scalar(ScalarType.DOUBLE, options);
}

/** Bytes. */
export function bytes(options: FieldOptions = {}): FieldType<Uint8Array> {
  return scalar(ScalarType.BYTES, options);
}

/** A list. */
export function list<F extends AnyField>(of: F, options: FieldOptions = {}): FieldType<TypeOf<F>[]> {
  return { of: single(of, "list"), shape: "list", isOptional: false, number: options.number };
}

/** A map with keys of text. */
export function map<F extends AnyField>(
  of: F,
  options: FieldOptions = {},
): FieldType<Record<string, TypeOf<F>>> {
  return { of: single(of, "map"), shape: "map", isOptional: false, number: options.number };
}

/** A field of which it is known whether it was set: `undefined` if not. */
export function optional<T>(of: FieldType<T>): FieldType<T, true> {
  if (of.shape !== "one") throw new TypeError(`a ${of.shape} cannot be optional: it may be empty`);
  return { of: of.of, shape: "one", isOptional: true, number: of.number };
}

function scalar<T>(of: ScalarType, options: FieldOptions): FieldType<T> {
  return { of, shape: "one", isOptional: false, number: options.number };
}

function single(field: AnyField, shape: string): ScalarType | DescMessage {
  if (isDescMessage(field)) return field;
  if (field.shape !== "one") throw new TypeError(`a ${shape} of ${field.shape}s: put a message between`);
  return field.of;
}

function isDescMessage(field: AnyField): field is DescMessage {
  return "kind" in field && field.kind === "message";
}

/** A message that was declared in code, with these fields. */
export type CodeMessage<F extends Record<string, AnyField>> = GenMessage<Message & Shape<F>>;

const FIELDS = Symbol("firn fields");

interface Lazy {
  readonly kind: "message";
  readonly name: string;
  readonly [FIELDS]: Record<string, AnyField>;
}

/** What a message has once it is bound. */
const UNBOUND = {};
for (const name of ["typeName", "file", "fields", "field", "oneofs", "members", "proto"]) {
  Object.defineProperty(UNBOUND, name, {
    get(this: Lazy): never {
      throw new Error(
        `message ${this.name} belongs to no contract yet: name it in a method of a service, or as ` +
          "state, event or data of a component, and make the component first",
      );
    },
  });
}

/**
 * Declares a message: its name in PascalCase, its fields in camelCase (in the contract they are in
 * snake_case, R101). It can be used when the component that names it was made.
 */
export function message<F extends Record<string, AnyField>>(name: string, fields: F): CodeMessage<F> {
  if (!/^[A-Z][A-Za-z0-9]*$/.test(name)) throw new TypeError(`message ${name}: its name has to be in PascalCase`);
  const lazy = Object.create(UNBOUND) as Record<PropertyKey, unknown>;
  lazy["kind"] = "message";
  lazy["name"] = name;
  lazy[FIELDS] = fields;
  lazy["toString"] = () => `message ${name}`;
  fieldsOf(name, fields); // faults show here
  return lazy as unknown as CodeMessage<F>;
}

/** How a method is reached over HTTP: one of the verbs with a path, as `google.api.http` has it. */
export interface HttpOptions {
  /** The path of a GET, with fields of the request in braces: `"/counters/{counter_id}"`. */
  get?: string;
  /** The path of a PUT. */
  put?: string;
  /** The path of a POST. */
  post?: string;
  /** The path of a DELETE. */
  delete?: string;
  /** The path of a PATCH. */
  patch?: string;
  /** The field of the request that the body is, or `"*"` for all that the path does not name. */
  body?: string;
  /** The field of the reply that the body is; the whole reply if unset. */
  responseBody?: string;
}

/** Options of a method. */
export interface RpcOptions {
  /** How it is reached over HTTP. */
  http?: HttpOptions;
}

/** The shapes of methods. */
export type MethodKind = "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";

/** A method that was declared in code. */
export interface Rpc<I extends DescMessage, O extends DescMessage, K extends MethodKind> {
  /** What it is asked. */
  readonly input: I;
  /** What it answers. */
  readonly output: O;
  /** What it streams. */
  readonly methodKind: K;
  /** @internal */
  readonly http: HttpOptions | undefined;
}

/** Declares a method, which streams requests, replies or both if `kind` says so. */
export function rpc<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  options?: RpcOptions,
): Rpc<I, O, "unary">;
export function rpc<I extends DescMessage, O extends DescMessage, K extends MethodKind>(
  input: I,
  output: O,
  options: RpcOptions & { kind: K },
): Rpc<I, O, K>;
export function rpc(
  input: DescMessage,
  output: DescMessage,
  options: RpcOptions & { kind?: MethodKind } = {},
): AnyRpc {
  return { input, output, methodKind: options.kind ?? "unary", http: options.http };
}

type AnyRpc = Rpc<DescMessage, DescMessage, MethodKind>;

/** A service that was declared in code, with these methods. */
export type CodeService<M extends Record<string, AnyRpc>> = GenService<{
  [K in keyof M]: { input: M[K]["input"]; output: M[K]["output"]; methodKind: M[K]["methodKind"] };
}>;

/**
 * Declares a service: its full name, which is a package and a name in PascalCase, and its methods in
 * camelCase.
 */
export function service<M extends Record<string, AnyRpc>>(fullName: string, methods: M): CodeService<M> {
  const match = /^([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)\.([A-Z][A-Za-z0-9]*)$/.exec(fullName);
  if (match === null) {
    throw new TypeError(`service ${fullName}: its name has to be a package and a name, like "shop.Cart"`);
  }
  const [, packageName = "", name = ""] = match;
  const lazy = { kind: "service", typeName: fullName, name } as Record<PropertyKey, unknown>;
  const extra = new Set<DescMessage>();
  let isBound = false;
  lazy[BIND] = (messages: readonly DescMessage[]) => {
    if (isBound && messages.every((it) => !isUnbound(it))) return;
    isBound = true;
    for (const it of messages) if (FIELDS in it) extra.add(it);
    bindService(lazy, { packageName, name, methods, extra: [...extra] });
  };
  return lazy as unknown as CodeService<M>;
}

function isUnbound(it: DescMessage): boolean {
  return FIELDS in it && !Object.hasOwn(it, "typeName");
}

interface ServicePlan {
  packageName: string;
  name: string;
  methods: Record<string, AnyRpc>;
  extra: readonly DescMessage[];
}

/** Makes the file of a service, and fills in the descriptors of it and its messages. */
function bindService(lazy: object, plan: ServicePlan): void {
  const { packageName, methods } = plan;
  // R102
  const fileName = `${packageName.replaceAll(".", "/")}/${snakeCase(plan.name)}.proto`;
  const own = ownMessages(plan, fileName);
  const dependencies = new Map<string, DescFile>();
  const nameOf = (it: DescMessage): string => {
    if (own.has(it as unknown as Lazy)) return `.${packageName}.${it.name}`;
    dependencies.set(`${it.file.name}.proto`, it.file);
    return `.${it.typeName}`;
  };
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
  const proto = create(FileDescriptorProtoSchema, {
    name: fileName,
    package: packageName,
    syntax: "proto3",
    messageType: [...own].sort(byName).map((it) => descriptorOf(it, nameOf, packageName)),
    service: [
      {
        name: plan.name,
        method: Object.entries(methods).map(([localName, method]) => ({
          name: pascalCase(localName),
          inputType: nameOf(method.input),
          outputType: nameOf(method.output),
          clientStreaming: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
          serverStreaming: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
          ...(method.http === undefined ? {} : { options: httpOptions(method.http) }),
        })),
      },
    ],
  });
  if (Object.values(methods).some((method) => method.http !== undefined)) {
    dependencies.set("google/api/annotations.proto", file_google_api_annotations);
  }
  proto.dependency = [...dependencies.keys()].sort();
  const registry = createFileRegistry(proto, (name) => dependencies.get(name));
  for (const it of own) {
    fill(it, registry.getMessage(`${packageName}.${it.name}`)!);
  }
  fill(lazy, registry.getService(`${packageName}.${plan.name}`)!);
}

function fill(lazy: object, desc: object): void {
  for (const [name, value] of Object.entries(desc)) {
    Object.defineProperty(lazy, name, { value, configurable: true, enumerable: true, writable: true });
  }
}

/** The messages that belong into the file of a service: all that it needs and that no other has. */
function ownMessages({ methods, extra, packageName }: ServicePlan, fileName: string): Set<Lazy> {
  const own = new Set<Lazy>();
  const names = new Set<string>();
  const visit = (it: DescMessage): void => {
    if (!(FIELDS in it)) return;
    const lazy = it as unknown as Lazy;
    if (own.has(lazy)) return;
    const isElsewhere = !isUnbound(it) && `${it.file.name}.proto` !== fileName;
    if (isElsewhere) return;
    if (names.has(lazy.name)) throw new TypeError(`two messages of ${packageName} have the name ${lazy.name}`);
    names.add(lazy.name);
    own.add(lazy);
    for (const field of Object.values(lazy[FIELDS])) {
      const of = isDescMessage(field) ? field : field.of;
      if (typeof of === "object") visit(of);
    }
  };
  for (const { input, output } of Object.values(methods)) {
    visit(input);
    visit(output);
  }
  extra.forEach(visit);
  return own;
}

/** The fields of a message by number, so that the order in which they were written does not matter. */
function fieldsOf(message: string, fields: Record<string, AnyField>): [string, number, AnyField][] {
  const numbers = new Map<number, string>();
  const all = Object.entries(fields).map(([localName, field]): [string, number, AnyField] => {
    if (!/^[a-z][A-Za-z0-9]*$/.test(localName)) {
      throw new TypeError(`field ${localName} of ${message}: its name has to be in camelCase`);
    }
    const name = snakeCase(localName);
    const given = isDescMessage(field) ? undefined : field.number;
    const number = given ?? fieldNumber(name);
    const other = numbers.get(number);
    if (other !== undefined) {
      throw new TypeError(
        `fields ${other} and ${name} of ${message} have the same number ${number}: give one of them another`,
      );
    }
    numbers.set(number, name);
    return [localName, number, field];
  });
  return all.sort(([, a], [, b]) => a - b);
}

/** R100: the number of a field. */
export function fieldNumber(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return 20_000 + (hash % 33_534_432);
}

const SCALARS: Partial<Record<ScalarType, FieldDescriptorProto_Type>> = {
  [ScalarType.STRING]: FieldDescriptorProto_Type.STRING,
  [ScalarType.BOOL]: FieldDescriptorProto_Type.BOOL,
  [ScalarType.INT32]: FieldDescriptorProto_Type.INT32,
  [ScalarType.INT64]: FieldDescriptorProto_Type.INT64,
  [ScalarType.UINT32]: FieldDescriptorProto_Type.UINT32,
  [ScalarType.UINT64]: FieldDescriptorProto_Type.UINT64,
  [ScalarType.DOUBLE]: FieldDescriptorProto_Type.DOUBLE,
  [ScalarType.BYTES]: FieldDescriptorProto_Type.BYTES,
};

function descriptorOf(
  lazy: Lazy,
  nameOf: (message: DescMessage) => string,
  packageName: string,
): DescriptorProto {
  const proto = create(DescriptorProtoSchema, { name: lazy.name });
  for (const [localName, number, declared] of fieldsOf(lazy.name, lazy[FIELDS])) {
    const type: FieldType<unknown, boolean> = isDescMessage(declared)
      ? { of: declared, shape: "one", isOptional: false, number: undefined }
      : declared;
    const field = typed(create(FieldDescriptorProtoSchema, { name: snakeCase(localName), number }), type.of, nameOf);
    field.label = FieldDescriptorProto_Label.OPTIONAL;
    if (type.shape === "list") field.label = FieldDescriptorProto_Label.REPEATED;
    if (type.isOptional && typeof type.of !== "object") {
      field.proto3Optional = true;
      field.oneofIndex = proto.oneofDecl.length;
      proto.oneofDecl.push(create(DescriptorProtoSchema, { oneofDecl: [{ name: `_${field.name}` }] }).oneofDecl[0]!);
    }
    if (type.shape === "map") {
      const entry = `${pascalCase(localName)}Entry`;
      proto.nestedType.push(mapEntry(entry, field));
      field.label = FieldDescriptorProto_Label.REPEATED;
      field.type = FieldDescriptorProto_Type.MESSAGE;
      field.typeName = `.${packageName}.${lazy.name}.${entry}`;
    }
    proto.field.push(field);
  }
  return proto;
}

function mapEntry(name: string, value: FieldDescriptorProto): DescriptorProto {
  const label = FieldDescriptorProto_Label.OPTIONAL;
  return create(DescriptorProtoSchema, {
    name,
    field: [
      { name: "key", number: 1, label, type: FieldDescriptorProto_Type.STRING },
      { name: "value", number: 2, label, type: value.type, typeName: value.typeName },
    ],
    options: { mapEntry: true },
  });
}

function typed(
  field: FieldDescriptorProto,
  of: ScalarType | DescMessage,
  nameOf: (message: DescMessage) => string,
): FieldDescriptorProto {
  if (typeof of === "object") {
    field.type = FieldDescriptorProto_Type.MESSAGE;
    field.typeName = nameOf(of);
  } else {
    field.type = SCALARS[of]!;
  }
  return field;
}

function httpOptions(rule: HttpOptions): MessageShape<typeof MethodOptionsSchema> {
  const verbs = (["get", "put", "post", "delete", "patch"] as const).filter((verb) => rule[verb] !== undefined);
  const [verb] = verbs;
  if (verb === undefined || verbs.length > 1) {
    throw new TypeError("http needs one of get, put, post, delete and patch");
  }
  const options = create(MethodOptionsSchema);
  const init: MessageInitShape<typeof HttpRuleSchema> = {
    pattern: { case: verb, value: rule[verb]! },
    body: rule.body ?? "",
    responseBody: rule.responseBody ?? "",
  };
  setExtension(options, http, create(HttpRuleSchema, init));
  return options;
}

/** `counterId` as it is in the contract: `counter_id` (R101). */
function snakeCase(name: string): string {
  return name.replace(/(?<=.)[A-Z]/g, "_$&").toLowerCase();
}

function pascalCase(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
