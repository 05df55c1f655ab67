/** Failures, as gRPC has them. */

import type { Any } from "@bufbuild/protobuf/wkt";

/** The gRPC status codes of failures. */
export const Code = {
  /** The operation was cancelled. */
  Cancelled: 1,
  /** Nothing better is known. */
  Unknown: 2,
  /** The request is wrong, whatever the state. */
  InvalidArgument: 3,
  /** The time was over; the outcome may not be known. */
  DeadlineExceeded: 4,
  /** What was asked for is not there. */
  NotFound: 5,
  /** What was to be created is there already. */
  AlreadyExists: 6,
  /** The caller may not do this. */
  PermissionDenied: 7,
  /** Something has run out. */
  ResourceExhausted: 8,
  /** The state does not allow it. */
  FailedPrecondition: 9,
  /** Something else came between. */
  Aborted: 10,
  /** Beyond what is valid. */
  OutOfRange: 11,
  /** There is no such method. */
  Unimplemented: 12,
  /** A mistake in the function. */
  Internal: 13,
  /** Not at present; later it may work. */
  Unavailable: 14,
  /** Data is lost. */
  DataLoss: 15,
  /** It is not known who calls. */
  Unauthenticated: 16,
} as const;

/** A gRPC status code of a failure, 1 to 16. */
export type Code = (typeof Code)[keyof typeof Code];

/**
 * A failure for the caller. A handler throws it; a call through Firn that failed rejects with it, so
 * that a handler which does not catch it hands it on.
 */
export class Failure extends Error {
  override readonly name = "Failure";

  /**
   * @param code the gRPC status code
   * @param message the text for the caller
   * @param details for the caller, as `google.rpc.Status` has them; `anyPack` of
   *   `@bufbuild/protobuf/wkt` makes them of messages
   */
  constructor(
    readonly code: Code,
    message: string,
    readonly details: readonly Any[] = [],
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The code if it is one of a failure, otherwise UNKNOWN. */
export function validCode(code: number): Code {
  return Number.isInteger(code) && code >= 1 && code <= 16 ? (code as Code) : Code.Unknown;
}
