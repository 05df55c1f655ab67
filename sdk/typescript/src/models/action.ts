/** Actions: stateless code. */

import type { MessageShape } from "@bufbuild/protobuf";
import { Component, type ComponentOptions, type Handlers, type Method } from "../component.js";
import { ActionContext, type Caller } from "../context.js";
import { type ComponentSchema, Model } from "../generated/firn/v1/function_pb.js";
import type { Command } from "../protocol/frames.js";
import type { AnyService } from "../target.js";

/** What an action is declared with. */
export interface ActionOptions<S extends AnyService> extends ComponentOptions {
  /** The handlers, by the names of the methods. */
  handlers: Handlers<S, ActionContext>;
}

/** Declares an action: stateless code. Its methods may stream requests and replies. */
export function action<S extends AnyService>(service: S, options: ActionOptions<S>): Component<S> {
  return new Action<S>({ service, options, handlers: options.handlers, messages: [] });
}

class Action<S extends AnyService> extends Component<S> {
  override get isAction(): boolean {
    return true;
  }

  override get isSerial(): boolean {
    return false;
  }

  protected override declare(component: MessageShape<typeof ComponentSchema>): void {
    component.model = Model.ACTION;
  }

  override open(): void {}

  override context(caller: Caller, method: Method, command: Command, receivedAt: number): ActionContext {
    return new ActionContext(caller, method, command, receivedAt, undefined);
  }

  override decide(): void {}

  override commit(): void {}

  override rollback(): boolean {
    return false;
  }
}
