package node

// openNoFollow is nothing here: an os.Root does not leave its directory in any case.
const openNoFollow = 0
