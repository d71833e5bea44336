/** Loamlet's own version; `test/unit/base/version.test.ts` holds it equal to package.json's. */
export const version = '0.1.0';
