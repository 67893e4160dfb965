// Questions and the list of keys, in the dialog of the page.

const dialog = document.getElementById("dialog");
const form = dialog.querySelector("form");
const fields = dialog.querySelector(".fields");
const wrong = dialog.querySelector(".wrong");

/**
 * Ask for some values. `asked` is a list of {name, label, value, type, options}; `done(values)` may
 * throw, which is shown and leaves the dialog open. Resolves when it is closed.
 */
export function ask(title, asked, done, button = "OK") {
  form.querySelector("h2").textContent = title;
  form.querySelector("button.main").textContent = button;
  form.querySelector("button.main").hidden = false;
  wrong.textContent = "";
  fields.replaceChildren(...asked.map(field));
  return opened(async () => {
    const values = {};
    for (const { name, type } of asked) {
      const input = form.elements[name];
      values[name] = type === "number" ? input.valueAsNumber : type === "checkbox" ? input.checked : input.value;
    }
    await done(values);
  });
}

/** Show elements, with nothing to answer. */
export function tell(title, ...elements) {
  form.querySelector("h2").textContent = title;
  form.querySelector("button.main").hidden = true;
  wrong.textContent = "";
  fields.replaceChildren(...elements);
  return opened(async () => {});
}

// Not a button that submits: Enter in a field would press it, as the first of the form.
document.getElementById("cancel").addEventListener("click", () => dialog.close());

function opened(done) {
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await done();
        dialog.close();
      } catch (error) {
        wrong.textContent = error.message;
      }
    };
    form.onkeydown = (event) => {
      if (event.key !== "Enter" || !event.target.matches("select")) return;
      event.preventDefault(); // a list would only open
      form.requestSubmit();
    };
    dialog.onclose = () => resolve();
    dialog.showModal();
    (fields.querySelector("input, select") ?? document.getElementById("cancel")).focus();
    fields.querySelector("input[type=text], input[type=number]")?.select();
  });
}

function field({ name, label, value = "", type = "text", options = null, list = null }) {
  const holder = document.createElement("label");
  holder.append(label);
  const input = document.createElement(options ? "select" : "input");
  if (options) {
    for (const [each, text] of options) input.append(new Option(text, each, false, each === value));
  } else {
    input.type = type;
    if (list) input.setAttribute("list", list);
    if (type === "checkbox") input.checked = value;
    else input.value = value;
    if (type === "number") Object.assign(input, { min: 0, step: 1, required: true });
  }
  input.name = name;
  holder.append(input);
  return holder;
}
