// Save what the server sends as a file; it is a new value with each click.
watch("value", () => {
  const { name, data } = JSON.parse(props.value || "{}");
  if (!name) return;
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
