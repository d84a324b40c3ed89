// What a page does not need: buttons that copy the lines beside them.
"use strict";

const said = document.getElementById("said");

// Browsers let a page write to the clipboard only over HTTPS, or on the same machine.
if (navigator.clipboard) {
  for (const box of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(box.querySelector("code").textContent);
        said.textContent = "Copied.";
        button.textContent = "Copied";
      } catch {
        said.textContent = "Your browser did not let this page copy. Select the line.";
      }
      setTimeout(() => {
        button.textContent = "Copy";
        said.textContent = "";
      }, 2000);
    });
    box.append(button);
  }
}
