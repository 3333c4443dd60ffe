import { parseXml, XmlElement } from '@rgrove/parse-xml';

// What descriptors of disks need of XML. They come from strangers: callers bound their length.

/** The root element, when it has that name; what is wrong, when the text is no XML. */
export function parseRoot(text: string, name: string): XmlElement | undefined | Error {
  try {
    const { root } = parseXml(text);
    return root !== null && local(root.name) === name ? root : undefined;
  } catch (error) {
    // Also of the stack, when elements lie in each other by the thousand.
    return error instanceof Error ? error : new Error(String(error));
  }
}

function local(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

/** Names are compared without their namespaces' prefixes. */
export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children
    .filter((child) => child instanceof XmlElement)
    .filter((child) => local(child.name) === name);
}

export function below(element: XmlElement, outer: string, inner: string): XmlElement[] {
  return childrenOf(element, outer).flatMap((child) => childrenOf(child, inner));
}

/** Of the first child of that name; empty without one. */
export function textOf(element: XmlElement, name: string): string {
  return childrenOf(element, name)[0]?.text.trim() ?? '';
}

export function attribute(element: XmlElement, name: string): string {
  for (const [key, value] of Object.entries(element.attributes))
    if (local(key) === name) return value;
  return '';
}
