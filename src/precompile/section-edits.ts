import { ByteReader } from './byte-reader.ts';
import { concat, leb } from './byte-writer.ts';
import { sectionOrder, sectionName, type Section } from './sections.ts';

type Bytes = ArrayLike<number>;

/** What is to change in the sections of a module: elements behind the last of a vector, whole contents, sections left out. */
export class SectionEdits {
  readonly #bytes: Uint8Array;
  readonly #sections: readonly Section[];
  readonly #appended = new Map<number, Bytes[]>();
  readonly #replaced = new Map<number, { readonly count: number; readonly elements: Bytes }>();
  readonly #removed = new Set<number>();

  constructor(bytes: Uint8Array, sections: readonly Section[]) {
    this.#bytes = bytes;
    this.#sections = sections;
  }

  /** One more element for the vector that a section is; the section is made if it is missing. */
  append(id: number, element: Bytes): void {
    const elements = this.#appended.get(id);
    if (elements) elements.push(element);
    else this.#appended.set(id, [element]);
  }

  /** Other elements for the vector that a section is; what is appended comes behind them. */
  replace(id: number, count: number, elements: Bytes): void {
    this.#replaced.set(id, { count, elements });
  }

  remove(id: number): void {
    this.#removed.add(id);
  }

  /** The module with its changes, and with the custom section `description` in front. */
  apply(description: Uint8Array, keepCustom: (section: Section) => boolean): Uint8Array {
    const out: Bytes[] = [this.#bytes.subarray(0, 8)];
    emit(out, 0, [description]);
    const missing = [...this.#appended.keys()]
      .filter((id) => !this.#sections.some((section) => section.id === id))
      .toSorted((a, b) => sectionOrder(a) - sectionOrder(b));
    const fill = (before: number): void => {
      while (missing.length > 0 && sectionOrder(missing[0]!) < before) {
        const elements = this.#appended.get(missing[0]!)!;
        emit(out, missing.shift()!, [leb(elements.length), ...elements]);
      }
    };
    for (const section of this.#sections) {
      if (section.id === 0) {
        if (keepCustom(section)) emit(out, 0, [this.#bytes.subarray(section.start, section.end)]);
        continue;
      }
      fill(sectionOrder(section.id));
      if (!this.#removed.has(section.id)) emit(out, section.id, this.#content(section));
    }
    fill(Infinity);
    return concat(out);
  }

  #content({ id, start, end }: Section): Bytes[] {
    const appended = this.#appended.get(id) ?? [];
    const replaced = this.#replaced.get(id);
    if (replaced) return [leb(replaced.count + appended.length), replaced.elements, ...appended];
    if (appended.length === 0) return [this.#bytes.subarray(start, end)];
    const reader = new ByteReader(this.#bytes, sectionName(id), start, end);
    const count = reader.u32();
    return [leb(count + appended.length), this.#bytes.subarray(reader.at, end), ...appended];
  }
}

function emit(out: Bytes[], id: number, content: readonly Bytes[]): void {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  out.push([id], leb(length), ...content);
}
