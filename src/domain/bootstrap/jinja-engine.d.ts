/**
 * Owns the types of the little of `@huggingface/jinja` that Jinja.ts uses: its own declarations import each other without
 * file extensions, which TypeScript does not follow for modules.
 */
declare module "@huggingface/jinja" {
  export interface Token {
    readonly value: string
  }
  export interface Statement {
    readonly type: string
  }
  export interface RuntimeValue {
    readonly value: unknown
  }
  export class Environment {
    set(name: string, value: unknown): RuntimeValue
  }
  export class Interpreter {
    constructor(environment: Environment)
    evaluate(statement: Statement | undefined, environment: Environment): RuntimeValue
    run(program: Statement): RuntimeValue
  }
  export const tokenize: (template: string) => ReadonlyArray<Token>
  export const parse: (tokens: ReadonlyArray<Token>) => Statement
}
