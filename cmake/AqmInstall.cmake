# What is installed besides libaqmtrain: program, configurations, manual pages, example, completion, deployments.
install(TARGETS aqmtrain)
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/aqmtrain/configs FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY deploy DESTINATION ${CMAKE_INSTALL_DATADIR}/aqmtrain USE_SOURCE_PERMISSIONS)
install(FILES examples/decide.c DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES man/aqmtrain.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME aqmtrain)

# Two pages are made of what the program says of itself, so they say what it does.
set(aqm_pages ${CMAKE_BINARY_DIR}/man/aqmtrain.1 ${CMAKE_BINARY_DIR}/man/aqmtrain.yaml.5)
add_custom_command(OUTPUT ${aqm_pages}
  COMMAND ${CMAKE_SOURCE_DIR}/man/make-pages.sh $<TARGET_FILE:aqmtrain> ${CMAKE_SOURCE_DIR}/man
          ${CMAKE_INSTALL_FULL_DATADIR}/aqmtrain/configs ${CMAKE_BINARY_DIR}/man
  DEPENDS aqmtrain man/make-pages.sh man/aqmtrain.1.in man/aqmtrain.yaml.5.in
  COMMENT "Making manual pages" VERBATIM)
add_custom_target(pages ALL DEPENDS ${aqm_pages})
install(FILES ${CMAKE_BINARY_DIR}/man/aqmtrain.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_BINARY_DIR}/man/aqmtrain.yaml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES man/libaqmtrain.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
