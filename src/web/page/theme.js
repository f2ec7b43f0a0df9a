// Sets the chosen colours before anything is painted, so that a dark page never flashes white. The one script that is no module.
try {
  const theme = localStorage.getItem('theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's choice stands.
}
