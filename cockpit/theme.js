/* Light or dark as the shell of Cockpit is, whose class names differ between its releases. */

export function followTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const apply = () => {
        const style = localStorage.getItem("shell:style") || "auto";
        const isDark = style === "dark" || (style === "auto" && dark.matches);
        document.documentElement.classList.toggle("dark", isDark);
    };
    addEventListener("storage", apply);
    addEventListener("cockpit-style", apply);
    dark.addEventListener("change", apply);
    apply();
}
