import type { Binding } from "../../binding.js";

declare const binding: Binding;
export default binding;
